"""What is deployed to Lambda: stands alone, knows nothing of the tasks."""
