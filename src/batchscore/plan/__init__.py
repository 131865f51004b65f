"""What will a run score, and what will it cost? Answered before the first request."""
