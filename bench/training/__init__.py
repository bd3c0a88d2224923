"""What training costs: steps, the data loader, near-copies, a folder of the challenge's size."""
