"""Networks: two VQ-VAEs and a masked autoencoder, in plain torch."""
