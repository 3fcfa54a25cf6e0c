"""Results of encoding know their space; here they are kept in files, quantized, combined and searched."""
