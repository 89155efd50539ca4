"""Reading a BIDS dataset and writing a BIDS-derivatives dataset."""
