"""Sign in to any server as a client and see what it can do: `xmppd doctor`.

It knows nothing of this server's insides. `checks/` holds the rows, a file per category; what they see goes through
plain functions (`judge_…`) to a verdict. Whatever a check makes on the server is noted first (`cleanup.py`)
and is deleted again, also when the run is interrupted.
"""
