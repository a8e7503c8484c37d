"""`make fuzz`: hostile requests to a server that it starts itself on this host."""
