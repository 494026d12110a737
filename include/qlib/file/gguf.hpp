#pragma once
// GGUF files: reading (gguf_file), writing (gguf_writer), models in several parts, and what a loader checks
// before it trusts a model's metadata and data.
#include "ggml_data_check.hpp"
#include "gguf_model_check.hpp"
#include "gguf_reader.hpp"
#include "gguf_split.hpp"
#include "gguf_writer.hpp"
