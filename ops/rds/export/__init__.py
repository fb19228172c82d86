"""What is there, as a configuration of Terraform: for the day on which a team goes on without the suite."""
