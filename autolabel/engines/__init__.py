"""Where the work of a run is done: on this machine (``local``)."""
