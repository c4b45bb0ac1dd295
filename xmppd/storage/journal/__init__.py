"""A store over documents that are written one by one, made atomic by a journal: a batch is one document, whose insert
is the commit; what it holds is applied behind it (docs/explanation/storage.md)."""
