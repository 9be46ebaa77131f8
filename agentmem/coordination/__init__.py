"""How agents work together through what they remember: one module an idea; ask a `Memory` for them."""
