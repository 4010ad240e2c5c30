"""The commands: pillarbox, smtp-server, user-cli. Thin: each calls functions of a room and prints the outcome."""
