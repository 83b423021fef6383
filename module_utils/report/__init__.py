"""From the artifacts of a job to one page. Runs on the controller alone."""
