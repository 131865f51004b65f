"""What does each metric say of labels and answers? One module for each family; numbers and texts only."""
