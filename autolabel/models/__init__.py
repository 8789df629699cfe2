"""What adapters share: where weights come from, devices, reading models in, their cards."""
