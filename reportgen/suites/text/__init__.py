"""What each head does on running text when nobody asks anything of it."""
