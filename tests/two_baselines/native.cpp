#include "work.hpp"

std::uint64_t work_natively();
std::uint64_t work_natively() { return work(); }
