"""Many workers that run one dataset file together."""
