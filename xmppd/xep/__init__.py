"""Parts of XEPs that several plugins use: the public library of plugin authors."""
