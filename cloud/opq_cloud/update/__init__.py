"""Updates: the repository of releases on 8151, roll-outs, and the original's Box update server beside it.

| file | noun |
|---|---|
| repository.py | a TUF repository in a folder: staged, signed off line, published; plans of roll-outs |
| rollout.py | how far a roll-out goes, by the gateways' reports: pure |
| pages.py | the answers to GET: files of the repository, and the original's routes |
| update_server.py | the service: HTTP, reports into the store, roll-outs, renewed time stamps |
"""
