"""Restate's service protocol: frames, messages, and what they are as journal entries. Pure: bytes in, values out."""
