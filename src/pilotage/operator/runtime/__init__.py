"""Controllers for any resource: caches, queue, election, events, probes, metrics."""
