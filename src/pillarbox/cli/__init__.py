"""The commands: pillarbox, smtp-server, user-cli, sendmail, mailq. Thin: each calls functions of a room and prints
the outcome.
"""
