"""The raw samples of the last hours on disk, one ring per Box: a folder of segment files of ten minutes.

    append -> live segment -> raw segment -> sealed segment (by a child process) -> deleted
                    ^ losses

| file | noun |
|---|---|
| ring.py | Ring: append, gap, read, read_lost, sync; one writer, readers in any process |
| segment_catalogue.py | the files of a ring: their formats, who makes, replaces and deletes them, and when |
| segment.py | the description of a file; its records in columns |
| live.py, record.py, raw.py | the file being written; one record; a raw file, bisected by time |
| sealed.py | a sealed file; its stamps, compressed |
| codec/ | its samples, compressed |
| lost.py, pending.py | a loss with its reason; losses that wait for the block after them |
| time_axes.py | which sample was taken when, also where the Box's clock was set |
| waveform.py | makes a Waveform, or the holes, from records in columns |
| sealing.py, sealer.py | the child process that seals; the thread that runs it |
| syncing.py | makes the disk itself store everything, every `ring.sync_s` |
"""
