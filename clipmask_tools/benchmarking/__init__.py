"""What ``clipmask_tools.benchmark`` is made of: networks side by side, parts, growth and data
loading.
"""
