"""What a run is made of: stages, jobs on the host, assets."""
