#pragma once
// Importance matrices as llama.cpp's llama-imatrix makes them: reading (imatrix_file) and writing (imatrix_writer).
#include "imatrix_reader.hpp"
#include "imatrix_writer.hpp"
