"""A raw dataset to upload: what may be shared of the input, with de-identified images under the raw names."""
