"""What runs are held to: files of claims, the evidence, and a file for each kind of claim."""
