#pragma once
// GGUF files: reading (gguf_file), writing (gguf_writer), and what a model's loader checks before it trusts one.
#include "gguf_model_check.hpp"
#include "gguf_reader.hpp"
#include "gguf_writer.hpp"
