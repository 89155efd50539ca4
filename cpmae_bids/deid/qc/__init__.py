"""Quality control: is this a scan of a whole head, and does its output show another one?"""
