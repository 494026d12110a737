#pragma once
// What an imatrix says of the text that it was made from, beyond llama.cpp's keys.

/// Metadata of the GGUF form: the SHA-256 of the text, in hexadecimal.
inline constexpr const char* calibration_key = "calibration.sha256";
