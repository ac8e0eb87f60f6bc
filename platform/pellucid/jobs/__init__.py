"""Jobs: a plan plus its lifecycle, claimed by lease and run as a process group."""
