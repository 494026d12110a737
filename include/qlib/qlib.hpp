#pragma once
// Everything but what needs an operating system (core/thread_pool.hpp).
#include "dequantize.hpp"
#include "file/gguf.hpp"
#include "formats.hpp"
#include "gptq.hpp"
#include "qgemm.hpp"
#include "quantize.hpp"
