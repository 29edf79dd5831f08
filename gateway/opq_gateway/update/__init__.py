"""The gateway's own update: two trees (virtual environments) in D/gateway/update, a link, a journal, a trial.

    current -> a, b or the first installation     the version that is known to work; the service starts by it
    a/, b/                                        trees; the one that is not current is built and tried
    journal.json                                  the step, written whole or not at all
    root.json, tuf/                               whom it trusts, and what it has seen of the repository

The link moves only after a successful trial, so a start by the link goes back.

| file | noun |
|---|---|
| decide.py | what comes next, given journal, link and trial: pure |
| journal.py | the files above |
| starting.py | the start of a process: which tree serves; a guard while it is on trial |
| trees.py | a tree made of a bundle, without internet and compiler |
| repository.py | the TUF repository, and in one sentence why one is refused |
| updater.py | the thread: looks, downloads, builds, judges, reports |
| box_firmware.py | then the firmware of its Boxes |
"""
