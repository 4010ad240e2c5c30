"""HTTP: health, numbers and the management API.

Must not know: processes, SQL (it calls functions of the store).
"""
