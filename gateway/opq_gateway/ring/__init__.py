"""The raw samples of the last hours on disk, one ring per Box: a folder of segment files of ten minutes.

    append -> live segment -> raw segment -> sealed segment (by a child process) -> deleted
                    ^ losses

| file | noun |
|---|---|
| ring.py | Ring: append, gap, read, read_lost, sync; one writer, readers in any process |
| catalogue.py | the files of a ring: their formats, who may make, replace and delete them, which have to go |
| segment.py | what is known of a file; its records in columns |
| live.py, record.py, raw.py | the file being written; one record; a raw file, bisected by time |
| sealed.py | a sealed file; its stamps in few bytes |
| codec/ | its samples in few bytes |
| lost.py, pending.py | a loss with its reason; losses that wait for the block after them |
| waveform.py | a Waveform, or the holes, of records in columns |
| sealing.py, sealer.py | the child that seals; the thread that keeps it at work |
| syncing.py | the disk itself has it, every `ring.sync_s` |
"""
