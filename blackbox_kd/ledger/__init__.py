"""The durable store of replies: one SQLite file for a workspace, shared by recipes, rounds and processes.

"A reply in the ledger is never bought again. After a crash at most the calls that were in flight can be
bought a second time, and they are counted."

An intent is on disk before its request is sent, and a reply before anything reads it.

    ledger       what a run does with it
    intent       one request, from before it is sent until it is known how it ended
    writer       commits what many calls wait for as one transaction
    sqlite_file  reads and writes the SQLite file; tables.sql: its tables
    met          what is found in it
    connection   opens it, and says what its errors mean
    processes    which processes are alive, whatever their numbers
    reclaim      what a process that has ended has left
    admin        what its owner does with it: summary, export, prune, rescue
    adopt        replies of one run become those of another
"""
