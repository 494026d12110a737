#pragma once
// safetensors files: reading (safetensors_file), writing (safetensors_writer), and
// the index of a model in several files.
#include "safetensors_index.hpp"
#include "safetensors_reader.hpp"
#include "safetensors_writer.hpp"
