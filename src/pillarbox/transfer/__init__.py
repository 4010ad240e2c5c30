"""Mail on its way between Pillarbox and what is no Pillarbox: files of other programs, and other IMAP servers.

Readers (`maildir_reader`, `mbox_reader`, `eml_reader`, `takeout_reader`) turn files into messages with folder, flags,
date and UID; `intake` puts them into an account with the store's record of what was taken in; `imap_pull` does the same
from a server. Writers do the way back. Must not know: sessions, settings, terminals.
"""
