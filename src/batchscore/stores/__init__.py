"""How are disks and object stores read and written? One border, one vocabulary of errors."""
