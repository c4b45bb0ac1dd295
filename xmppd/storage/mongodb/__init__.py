"""The store in MongoDB, or in any server that speaks its protocol: only plain commands are used.

`client`: the driver; `documents`: what they look like; `reads` and `statements`: what is asked of the server;
`store`: all of it as the documents below a journal.
"""
