#pragma once
// What the texts of a room need before the room begins: no header may be included inside one.
#include "../encode/encoder.hpp"
#include "../encode/lattice_octets.hpp"
#include "../encode/search_outer.hpp"
#include "../format/lattice_tables.hpp"
#include "../kernel/code_shuffles.hpp"
#include "../kernel/decoder.hpp"
#include "../kernel/gemm_plan.hpp"
#include "../linalg/strided.hpp"
#include "isa.hpp"
#include "target.hpp"
#include "vocabulary.hpp"
