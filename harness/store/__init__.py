"""What is kept: runs on disk, and who may write them."""
