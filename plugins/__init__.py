"""The plugins that come with the server: one file or folder each, named by what it does."""
