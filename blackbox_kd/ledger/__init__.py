"""The durable store of replies: one SQLite file for a workspace, shared by recipes, rounds and processes.

"A reply in the ledger is never bought again. After a crash at most the calls that were in flight can be
bought a second time, and they are counted."

An intent is on disk before its request is sent, and a reply before anything reads it.

    writer      commits what many calls wait for as one transaction
    file        reads and writes the SQLite file
    opening     opens it, and says what its errors mean
    tables.sql  its tables
    admin       what its owner does with it: summary, export, prune, rescue
    left        what a process that has ended has left
    adopt       replies of one run become those of another
"""
