"""What turns features into a task's raw answer."""
