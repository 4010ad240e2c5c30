"""Who may do what: passwords, SASL mechanisms, limits, and the shared memory in which workers count.

Asks the store. Must not know: protocols' grammar, transports.
"""
