"""Which objects exist and what they mean: keys, manifests, tasks, leases."""
