"""PostgreSQL: servers of our own on this machine, connections to anybody's, copies to rehearse on."""
