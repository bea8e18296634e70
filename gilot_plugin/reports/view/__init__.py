"""A run in the browser while it is being explained: the page of the report, served to this machine alone."""
