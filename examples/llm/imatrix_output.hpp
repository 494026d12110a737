#pragma once
// Where an imatrix may be written: never in place of anything but an older one.
#include "../common/output_place.hpp"

#include <qlib/file/imatrix.hpp>
#include <qlib/file/mapped_file.hpp>

/// The file that an output's path leads to, links followed.
/// error: it is one of the files that are read, or another one that is no imatrix
inline std::string imatrix_output(const std::string& path, const std::vector<std::string>& inputs) {
    check_output(path, inputs);
    const std::filesystem::path place = std::filesystem::weakly_canonical(path);
    if (!std::filesystem::exists(place)) return place.string();
    const auto file = qlib::mapped_file::open(place.c_str());
    if (!file || !qlib::imatrix_file::parse(file->bytes()))
        throw std::runtime_error(path + ": is there already, and is no imatrix");
    return place.string();
}
