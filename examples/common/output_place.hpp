#pragma once
// Whether an output may go where it is to go. Places are compared as the operating system knows them, not as they are
// spelled: links, "./", and upper and lower case where a file system takes them for the same lead to the same file.
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

/// Whether two paths are the same file or folder; false where one does not exist. An empty path: the working folder.
inline bool is_same_place(const std::filesystem::path& a, const std::filesystem::path& b) {
    std::error_code none;
    return std::filesystem::equivalent(a.empty() ? "." : a, b.empty() ? "." : b, none) && !none;
}

/// error: the output is one of the files that are read, or is there and is no file
inline void check_output(const std::string& output, const std::vector<std::string>& inputs) {
    std::error_code none;
    const auto status = std::filesystem::status(output, none);
    if (!std::filesystem::exists(status)) return;
    if (!std::filesystem::is_regular_file(status))
        throw std::runtime_error(output + ": it exists and is no file that could be replaced, but a " +
                                 (std::filesystem::is_directory(status) ? "folder" : "device, pipe or socket"));
    for (const std::string& input : inputs)
        if (is_same_place(output, input))
            throw std::runtime_error(output + ": it is the file " + input +
                                     " that is read, and would be lost; choose another name");
}

/// For models of several files that describe each other. error: the output's folder is the input's
inline void check_output_folder(const std::filesystem::path& output, const std::filesystem::path& input) {
    if (is_same_place(output, input))
        throw std::runtime_error(output.string() +
                                 ": it is the input's own folder, which holds one config.json: give another folder");
}

/// The files of an output in `count` parts, named as llama-gguf-split does: PREFIX-00001-of-00003.gguf.
inline std::vector<std::string> output_paths(const std::string& output, std::size_t count) {
    if (count == 1) return {output};
    std::vector<std::string> paths;
    const std::string prefix = output.ends_with(".gguf") ? output.substr(0, output.size() - 5) : output;
    for (std::size_t i = 1; i <= count; ++i) {
        char suffix[64];
        std::snprintf(suffix, sizeof suffix, "-%05zu-of-%05zu.gguf", i, count);
        paths.push_back(prefix + suffix);
    }
    return paths;
}
