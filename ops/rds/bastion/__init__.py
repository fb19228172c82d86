"""A small machine of ours beside the instance, by which Session Manager leads into its network."""
